/** How a fresh secret gets onto many machines: ready to be pasted, each with the secret out of sight of other users. */

/** A text as one word of a shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

export interface Recipe {
  name: string;
  about: string;
  text: string;
}

const CONFIG = '/etc/muster/agent.yml';

/** `link`: a join link that holds the secret. */
export function recipes(link: string): Recipe[] {
  return [
    {
      name: 'Shell',
      about:
        'On each machine, where the muster program is already. The secret passes by the command line of nobody.',
      text: `printf '%s\\n' ${quoted(link)} | sudo muster agent install --link-file -`,
    },
    {
      name: 'Ansible',
      about: 'A task. Keep the link in a vault, as muster_join_link.',
      text: [
        '- name: Join Muster',
        '  become: true',
        '  ansible.builtin.command:',
        '    cmd: muster agent install --link-file -',
        '    stdin: "{{ muster_join_link }}"',
        `    creates: ${CONFIG}`,
        '  no_log: true',
        '',
        `# muster_join_link: ${JSON.stringify(link)}`,
      ].join('\n'),
    },
    {
      name: 'cloud-init',
      about:
        'User data. Whoever reads the instance’s metadata reads the secret: cap its uses, and let it expire.',
      text: [
        '#cloud-config',
        'write_files:',
        '  - path: /run/muster-join-link',
        "    permissions: '0600'",
        '    content: |',
        `      ${link}`,
        'runcmd:',
        '  - muster agent install --link-file /run/muster-join-link',
        '  - rm -f /run/muster-join-link',
      ].join('\n'),
    },
    {
      name: 'Container',
      about: 'An entry point. Mount the link as the file /run/secrets/muster-join-link.',
      text: [
        'set -e',
        'dir=/var/lib/muster-agent/identity',
        'test -e "$dir" || muster agent enroll --link-file /run/secrets/muster-join-link --dir "$dir"',
        'exec muster agent run --dir "$dir"',
      ].join('\n'),
    },
  ];
}
