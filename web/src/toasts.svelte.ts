/** Short notices about what has just happened. */

export interface Toast {
  id: number;
  kind: 'success' | 'failure';
  text: string;
  /** What to do about it, in a second line. */
  hint: string | undefined;
  /** What takes it back. */
  undo: (() => void) | undefined;
}

/** Long enough to read a sentence twice; failures ask for more attention. */
const SHOWN_MS = { success: 6000, failure: 10_000 };

/** Whoever may take something back gets the time to see that they should. */
const UNDO_MS = 20_000;

/** The oldest goes when there are more: nobody causes so many in the time that one is shown. */
const AT_ONCE = 8;

class Toasts {
  shown = $state<Toast[]>([]);
  #next = 0;

  success(text: string, undo?: () => void): void {
    this.#add('success', text, undefined, undo);
  }

  failure(text: string, hint?: string): void {
    this.#add('failure', text, hint === text ? undefined : hint);
  }

  close(id: number): void {
    this.shown = this.shown.filter((toast) => toast.id !== id);
  }

  #add(kind: Toast['kind'], text: string, hint?: string, undo?: () => void): void {
    const toast = { id: this.#next++, kind, text, hint, undo };
    this.shown = [...this.shown, toast].slice(-AT_ONCE);
    setTimeout(() => this.close(toast.id), undo ? UNDO_MS : SHOWN_MS[kind]);
  }
}

export const toasts = new Toasts();
