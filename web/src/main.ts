import { mount } from 'svelte';

import App from './App.svelte';
import './styles/tokens.css';
import './styles/base.css';
import './styles/parts.css';
import { session } from './session.svelte';
import { theme } from './theme.svelte';

const target = document.getElementById('app');
if (!target) throw new Error('index.html has an element with the id "app"');
theme.start();
void session.check();
mount(App, { target });
