// Whoever comes to sign in is signed out: what the person before saw does not stay in the browser.

import { forget } from "./kept.js";

forget();
