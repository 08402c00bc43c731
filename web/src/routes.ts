/** Every page: its address, its title, who may see it, and its place in the navigation. */
import type { Component } from 'svelte';

import { type Found, pageAt } from './addresses';
import type { Permission } from './api/types';
import Account from './pages/account/Account.svelte';
import Audit from './pages/audit/Audit.svelte';
import Enroll from './pages/enroll/Enroll.svelte';
import Help from './pages/help/Help.svelte';
import Host from './pages/host/Host.svelte';
import Hosts from './pages/hosts/Hosts.svelte';
import Overview from './pages/overview/Overview.svelte';
import AgentCa from './pages/settings/agent-ca/AgentCa.svelte';
import ApiTokens from './pages/settings/api-tokens/ApiTokens.svelte';
import Enrollment from './pages/settings/enrollment/Enrollment.svelte';
import TimeDisplay from './pages/settings/time-display/TimeDisplay.svelte';
import Users from './pages/settings/users/Users.svelte';

export interface Route {
  path: string;
  title: string;
  permission?: Permission;
  /** Whether the page is a table that can use all the width there is. */
  wide?: boolean;
  component: Component;
}

export const MAIN: readonly Route[] = [
  { path: '/', title: 'Overview', permission: 'agent.read', component: Overview },
  { path: '/hosts', title: 'Hosts', permission: 'agent.read', wide: true, component: Hosts },
  { path: '/enroll', title: 'Enroll', permission: 'agent.write', component: Enroll },
  { path: '/audit', title: 'Audit', permission: 'audit.read', wide: true, component: Audit },
];

export const SETTINGS: readonly Route[] = [
  {
    path: '/settings/enrollment',
    title: 'Enrollment',
    permission: 'secret.write',
    component: Enrollment,
  },
  { path: '/settings/users', title: 'Users', permission: 'user.write', component: Users },
  { path: '/settings/api-tokens', title: 'API tokens', permission: 'token.write', component: ApiTokens },
  { path: '/settings/agent-ca', title: 'Agent CA', permission: 'agent.read', component: AgentCa },
  { path: '/settings/time-display', title: 'Time & Display', component: TimeDisplay },
];

/** Pages that are reached from elsewhere than the navigation. */
const ASIDE: readonly Route[] = [
  { path: '/account', title: 'Account', component: Account },
  { path: '/help', title: 'Help', component: Help },
];

export const HOST_PAGE: Component<{ id: string }> = Host;

export function find(address: string): Found<Route> {
  return pageAt(address, [...MAIN, ...SETTINGS, ...ASIDE]);
}
