/** A real server of its own: `muster quickstart` in a fresh directory, on ports that are free. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';

export const MUSTER = process.env.MUSTER_BIN ?? join(import.meta.dirname, '../../../target/debug/muster');

interface Greeting {
  url: string;
  grpc_addr: string;
  admin_user: string;
  admin_password: string | null;
}

export class Server {
  readonly #dir: string;
  #process: ChildProcess;
  readonly #agents: ChildProcess[] = [];
  readonly url: string;
  readonly admin: { username: string; password: string };

  private constructor(dir: string, process: ChildProcess, greeting: Greeting) {
    this.#dir = dir;
    this.#process = process;
    this.url = greeting.url.replace(/\/$/, '');
    this.admin = { username: greeting.admin_user, password: greeting.admin_password ?? '' };
  }

  static async start(demoAgents: number): Promise<Server> {
    const dir = await mkdtemp(join(tmpdir(), 'muster-e2e-'));
    const { process, greeting } = await launch(dir, '127.0.0.1:0', demoAgents);
    return new Server(dir, process, greeting);
  }

  /** Stops the server and starts it again at the same address. */
  async restart(whileDown: () => Promise<void>): Promise<void> {
    await stop(this.#process);
    await whileDown();
    const { process } = await launch(this.#dir, new URL(this.url).host, 0);
    this.#process = process;
  }

  async stop(): Promise<void> {
    for (const agent of this.#agents) await stop(agent);
    this.thaw();
    await stop(this.#process);
    await rm(this.#dir, { recursive: true, force: true });
  }

  /** Enrolls an agent as its administrator would: by running a command that was copied from a page. */
  async enroll(link: string, name: string): Promise<void> {
    await promisify(execFile)(MUSTER, ['agent', 'enroll', link, '--dir', join(this.#dir, name)]);
  }

  /** Runs the agent of a machine that was enrolled. */
  run(name: string): ChildProcess {
    const agent = spawn(MUSTER, ['agent', 'run', '--dir', join(this.#dir, name)], { stdio: 'ignore' });
    this.#agents.push(agent);
    return agent;
  }

  /** Halts the server without ending it, as a closed lid does, and lets it go on. */
  freeze(): void {
    this.#process.kill('SIGSTOP');
  }

  thaw(): void {
    this.#process.kill('SIGCONT');
  }
}

async function launch(dir: string, listen: string, demoAgents: number) {
  const args = ['quickstart', '--json', '--data-dir', join(dir, 'data'), '--listen', listen];
  args.push('--grpc-listen', '127.0.0.1:0', '--demo-agents', String(demoAgents));
  const process = spawn(MUSTER, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const complaints: string[] = [];
  process.stderr.on('data', (chunk: Buffer) => complaints.push(chunk.toString()));
  const lines = createInterface({ input: process.stdout });
  const first = await new Promise<string>((resolve, reject) => {
    lines.once('line', resolve);
    process.once('error', reject);
    process.once('exit', (code) => reject(new Error(`muster ended with ${code}: ${complaints.join('')}`)));
  });
  return { process, greeting: JSON.parse(first) as Greeting };
}

async function stop(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  const ended = new Promise((resolve) => process.once('exit', resolve));
  process.kill('SIGTERM');
  await ended;
}
