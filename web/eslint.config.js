import js from '@eslint/js';
import svelte from 'eslint-plugin-svelte';
import globals from 'globals';
import ts from 'typescript-eslint';

import svelteConfig from './svelte.config.js';

export default ts.config(
    { ignores: ['dist', 'node_modules', 'src/api/schema.ts', 'test-results'] },
    js.configs.recommended,
    ...ts.configs.strict,
    ...svelte.configs.recommended,
    {
        languageOptions: { globals: { ...globals.browser, ...globals.node } },
        rules: {
            // The compiler knows better than a rule that can't see types which names exist.
            'no-undef': 'off',
            // The router takes plain paths; there is no SvelteKit here whose `resolve` could be called.
            'svelte/no-navigation-without-resolve': 'off',
        },
    },
    {
        files: ['**/*.svelte', '**/*.svelte.ts'],
        languageOptions: { parserOptions: { parser: ts.parser, svelteConfig } },
        rules: {
            'no-restricted-syntax': [
                'error',
                {
                    selector:
                        'SvelteElement:not(:has(SvelteAttribute[key.name="download"])) > SvelteStartTag > ' +
                        'SvelteAttribute[key.name="href"] > SvelteLiteral[value=/^\\x2F/]',
                    message:
                        'Links to pages are made by router.to(), which keeps the tenant that is looked at.',
                },
            ],
        },
    },
);
