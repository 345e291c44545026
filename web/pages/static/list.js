// Updates a list while its page is open.

import { follow } from "./live.js";

follow(document.getElementById("live"));
