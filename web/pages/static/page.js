// Adds copy buttons to a page that does nothing else by script.

import { addCopyButtons } from "./copy.js";

addCopyButtons();
