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

/** The oldest goes when there are more: nobody causes so many in the time that one is shown. */
const AT_ONCE = 8;

class Toasts {
  shown = $state<Toast[]>([]);
  #next = 0;

  success(text: string): void {
    this.#add('success', text, undefined);
  }

  failure(text: string, hint?: string): void {
    this.#add('failure', text, hint === text ? undefined : hint);
  }

  close(id: number): void {
    this.shown = this.shown.filter((toast) => toast.id !== id);
  }

  #add(kind: Toast['kind'], text: string, hint: string | undefined): void {
    const toast = { id: this.#next++, kind, text, hint };
    this.shown = [...this.shown, toast].slice(-AT_ONCE);
    setTimeout(() => this.close(toast.id), SHOWN_MS[kind]);
  }
}

export const toasts = new Toasts();
