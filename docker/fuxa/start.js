#!/usr/bin/env node
// FUXA with the Lineside project in it: one machine's maintenance, quality, schedule and health on one page.
//
//   npm install @frangoteam/fuxa@1.3.4 node-opcua@2.186.0     in some folder; node's module path has to find it
//   node start.js                                             then http://127.0.0.1:1881
//
// LINESIDE_ENDPOINT  the gateway's OPC UA server   opc.tcp://127.0.0.1:4850/lineside
// LINESIDE_MACHINE   the equipment shown           A1
// LINESIDE_LINE      the gateway's id              refplant
// FUXA_DIR           where FUXA keeps its state    ./fuxa-data
// FUXA_HOST          address of the pages          127.0.0.1
// FUXA_PORT          port of the pages, 0: any     1881
//
// The project is loaded once, into an empty FUXA: what is changed there afterwards stays.
const fs = require("fs");
const http = require("http");
const net = require("net");
const path = require("path");

const DEVICE = "d_lineside";
const READY_WITHIN_MS = 120000;
const given = (name, otherwise) => process.env[name] || otherwise;
const host = given("FUXA_HOST", "127.0.0.1");
const folder = path.resolve(given("FUXA_DIR", "fuxa-data"));

function project() {
  const machine = given("LINESIDE_MACHINE", "A1"), line = given("LINESIDE_LINE", "refplant");
  const shipped = fs.readFileSync(path.join(__dirname, "project.json"), "utf-8");
  const made = JSON.parse(shipped.replaceAll("s=A1.", `s=${machine}.`).replaceAll("s=refplant.", `s=${line}.`)
    .replaceAll("Machine A1", `Machine ${machine}`));
  made.devices[DEVICE].property.address = given("LINESIDE_ENDPOINT", made.devices[DEVICE].property.address);
  return made;
}

function settle() {
  // FUXA's own defaults, on one address, without a history of its own: the gateway keeps it.
  const defaults = JSON.stringify(require.resolve("@frangoteam/fuxa/settings.default.js"));
  const data = path.join(folder, "_appdata");
  fs.mkdirSync(data, { recursive: true });
  const settings = `module.exports = { ...require(${defaults}), uiHost: ${JSON.stringify(host)}, daqEnabled: false };\n`;
  fs.writeFileSync(path.join(data, "settings.js"), settings);
}

function freePort() {
  return new Promise((done) => {
    const probe = net.createServer().listen(0, host, () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });
}

function ask(port, method, body) {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const headers = text ? { "content-type": "application/json", "content-length": Buffer.byteLength(text) } : {};
  const place = { host: host === "0.0.0.0" ? "127.0.0.1" : host, port, path: "/api/project", method, headers };
  return new Promise((done, fail) => {
    const request = http.request(place, (answer) => {
      let said = "";
      answer.on("data", (part) => { said += part; });
      answer.on("end", () => answer.statusCode < 300 ? done(said && JSON.parse(said))
        : fail(new Error(`${method} /api/project: ${answer.statusCode} ${said}`)));
    });
    request.on("error", fail);
    request.end(text);
  });
}

async function load(port) {
  const until = Date.now() + READY_WITHIN_MS;
  for (;;) {
    try {
      const present = await ask(port, "GET");
      if (!Object.keys(present.devices || {}).includes(DEVICE)) await ask(port, "POST", project());
      console.error(`lineside project at http://${host}:${port}/home`);
      return;
    } catch (e) {
      if (Date.now() > until) throw new Error(`FUXA did not take the project: ${e.message}`);
      await new Promise((done) => setTimeout(done, 250));
    }
  }
}

(async () => {
  settle();
  const asked = Number(given("FUXA_PORT", "1881")), port = asked || await freePort();
  const main = require.resolve("@frangoteam/fuxa/main.js");
  process.argv = [process.argv[0], main, "--port", String(port), "--userDir", folder];
  require(main);
  await load(port);
})().catch((e) => { console.error(e.message); process.exit(1); });
