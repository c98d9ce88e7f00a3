// Runs a program: its JSON object from stdin, what it returns as JSON to stdout.
const fs = require("fs");
exports.main = (program) => program(JSON.parse(fs.readFileSync(0, "utf-8")))
  .then((seen) => process.stdout.write(JSON.stringify(seen) + "\n", () => process.exit(0)))
  .catch((e) => { console.error(e); process.exit(1); });
