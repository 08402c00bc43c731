/** What of the ways through the console is open. */
class Open {
  palette = $state(false);
  help = $state(false);
}

export const ways = new Open();
