/** The roles, as one chooses among them. */
import type { Role } from '../../../api/types';

/** Exactly those that the server knows: the type says so. */
const NAMES: Record<Role, string> = { admin: 'admin', operator: 'operator', viewer: 'viewer' };

export const ROLES = Object.entries(NAMES).map(([value, label]) => ({ value, label }));
