/** Which tenant a user of all tenants looks at. Users of one tenant never meet this. */
import { api } from './api/client';
import type { Session, Tenant } from './api/types';

class Tenants {
  all = $state.raw<Tenant[]>([]);
  /** `null`: the default tenant, which the server takes when none is named. */
  chosen = $state<string | null>(null);

  async load(session: Session): Promise<void> {
    if (session.user?.tenant_id !== null) return;
    try {
      this.all = await api.tenants();
    } catch {
      // Without the list there is no choice to offer, and the default tenant is what one sees.
      this.all = [];
    }
  }

  /** The default tenant comes first in the server's list of them, by name or by age. */
  get standard(): string | undefined {
    return (this.all.find((tenant) => tenant.name === 'default') ?? this.all[0])?.id;
  }

  choose(id: string): void {
    this.chosen = id === this.standard ? null : id;
  }

  forget(): void {
    this.all = [];
    this.chosen = null;
  }
}

export const tenants = new Tenants();
