/** Light or dark: as the system has it, unless somebody has chosen. The choice is this browser's, and known before login. */

export type ThemeChoice = 'system' | 'light' | 'dark';

const KEY = 'muster:theme';

const CHOICES: readonly ThemeChoice[] = ['system', 'light', 'dark'];

class Theme {
  choice = $state<ThemeChoice>('system');
  #system: MediaQueryList | undefined;

  /** Called once, before anything is drawn. */
  start(): void {
    try {
      this.choice = CHOICES.find((choice) => choice === localStorage.getItem(KEY)) ?? 'system';
    } catch {
      // Nothing is kept here.
    }
    this.#system = matchMedia('(prefers-color-scheme: dark)');
    this.#system.addEventListener('change', () => this.#apply());
    this.#apply();
  }

  choose(choice: ThemeChoice): void {
    this.choice = choice;
    try {
      if (choice === 'system') localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, choice);
    } catch {
      // It holds until the page is left.
    }
    this.#apply();
  }

  #apply(): void {
    const dark = this.choice === 'dark' || (this.choice === 'system' && this.#system?.matches === true);
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
  }
}

export const theme = new Theme();
