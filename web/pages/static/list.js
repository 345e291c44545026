// A list that changes: keeps it true while somebody looks.

import { follow } from "./live.js";

follow(document.getElementById("live"));
