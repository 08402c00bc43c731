import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

/** `npm run dev` shows the UI from source and passes everything else on to a server that runs already. */
const server = process.env.MUSTER_SERVER ?? 'https://127.0.0.1:8443';
const toServer = { target: server, changeOrigin: true, secure: false };

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2023',
    // Inlined assets would need `data:` in more places of the content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: { '/v1': toServer, '/agent-ca.crt': toServer },
  },
});
