/** Components are compiled in runes mode; styles go to files, never into the page at run time. */
export default {
    compilerOptions: { runes: true },
};
