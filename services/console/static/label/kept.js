// What outlives a page: answers that the server may not have yet, and the last ones, which can be taken back.

const DECIDED = "charter/decided/";

/** Where the answers of a person wait, whichever desk they come from. */
export const outboxOf = (labeler) => `charter/outbox/${labeler}`;

/** Keep both; where there is no room, the answers that wait rather than those that can be taken back. */
export function keep(outboxKey, outbox, decidedKey, decided) {
  let fits = put(outboxKey, outbox);
  if (!fits) {
    localStorage.removeItem(decidedKey); // the longest by far
    fits = put(outboxKey, outbox);
  }
  if (!put(decidedKey, decided)) localStorage.removeItem(decidedKey);
  return fits;
}

export function put(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export function kept(key) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? [];
  } catch {
    return [];
  }
}

/** Forget every text that was kept so that an answer can be taken back; other tabs hear of it. */
export function forget() {
  for (const key of Object.keys(localStorage).filter((each) => each.startsWith(DECIDED))) localStorage.removeItem(key);
}
