/** Short notices about what has just happened. */

export interface Toast {
  id: number;
  kind: 'success' | 'failure';
  text: string;
  /** What to do about it, in a second line. */
  hint: string | undefined;
}

/** Long enough to read a sentence twice; failures ask for more attention. */
const SHOWN_MS = { success: 6000, failure: 10_000 };

/** The oldest goes when there are more. */
const AT_ONCE = 4;

class Toasts {
  shown = $state<Toast[]>([]);
  #next = 0;
  #timers = new Map<number, ReturnType<typeof setTimeout>>();

  success(text: string): void {
    this.#add('success', text, undefined);
  }

  failure(text: string, hint?: string): void {
    this.#add('failure', text, hint === text ? undefined : hint);
  }

  close(id: number): void {
    this.hold(id);
    this.shown = this.shown.filter((toast) => toast.id !== id);
  }

  /** Keeps a toast for as long as somebody points at it. */
  hold(id: number): void {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
  }

  release(toast: Toast): void {
    this.hold(toast.id);
    this.#timers.set(
      toast.id,
      setTimeout(() => this.close(toast.id), SHOWN_MS[toast.kind]),
    );
  }

  #add(kind: Toast['kind'], text: string, hint: string | undefined): void {
    const toast = { id: this.#next++, kind, text, hint };
    this.shown = [...this.shown, toast].slice(-AT_ONCE);
    this.release(toast);
  }
}

export const toasts = new Toasts();
