/** Which tenant a user of all tenants looks at: the address says so. Users of one tenant never meet this. */
import { api } from './api/client';
import type { Session, Tenant } from './api/types';
import { router } from './router.svelte';

class Tenants {
  all = $state.raw<Tenant[]>([]);
  /** Whether the user belongs to one tenant, and can't choose. */
  #bound = $state(true);

  async load(session: Session): Promise<void> {
    this.#bound = session.user?.tenant_id !== null;
    if (this.#bound) return;
    try {
      this.all = await api.tenants();
    } catch {
      // Without the list there is no choice to offer; what the address says holds all the same.
      this.all = [];
    }
  }

  get several(): boolean {
    return this.all.length > 1;
  }

  /** The tenant that is looked at, if it is known. */
  get chosen(): Tenant | undefined {
    const asked = router.query.get('tenant');
    if (asked) return this.all.find(({ id, name }) => id === asked || name === asked);
    return this.#standard;
  }

  /** The tenant of addresses that name none. */
  get #standard(): Tenant | undefined {
    return this.all.find(({ name }) => name === 'default') ?? this.all[0];
  }

  /** What is sent with each request: always the tenant that is looked at, where there are several. */
  get sent(): string | null {
    if (this.#bound) return null;
    const asked = router.query.get('tenant');
    if (!this.several && !asked) return null;
    return this.chosen?.id ?? asked;
  }

  /** Whether a list that can span all tenants does. */
  get spanning(): boolean {
    return router.query.get('all') === 'true';
  }

  /** Goes to the same page of another tenant. A host has a page in its own tenant only. */
  choose(id: string): void {
    const tenant = this.all.find((tenant) => tenant.id === id);
    if (!tenant) return;
    const path = router.path.startsWith('/hosts/') ? '/hosts' : router.path;
    const named = tenant === this.#standard ? '' : tenant.name;
    router.go(`${path}?tenant=${encodeURIComponent(named)}`);
  }

  forget(): void {
    this.all = [];
    this.#bound = true;
  }
}

export const tenants = new Tenants();
