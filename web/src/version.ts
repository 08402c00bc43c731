/** Of this program: the pages are part of it, and the two are released together. */
export { version as VERSION } from '../package.json';
