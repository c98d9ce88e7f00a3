#!/usr/bin/env node
// Node-RED with the Lineside flow in it.
//
//   npm install node-red@4.1.10 node-red-contrib-opcua@0.2.354    in some folder; node's module path has to find it
//   node start.js                                                 then http://127.0.0.1:1880/lineside
//
// LINESIDE_ENDPOINT, LINESIDE_MACHINE, LINESIDE_LINE   as for FUXA, see ../fuxa/start.js
// NODE_RED_DIR                                         where Node-RED keeps its state    ./node-red-data
// NODE_RED_HOST, NODE_RED_PORT                         address of the pages              127.0.0.1, 1880
//
// The flow is put there once: what is changed there afterwards stays.
const fs = require("fs");
const path = require("path");

process.env.LINESIDE_ENDPOINT ||= "opc.tcp://127.0.0.1:4850/lineside";
const folder = path.resolve(process.env.NODE_RED_DIR || "node-red-data");
fs.mkdirSync(folder, { recursive: true });
const flow = path.join(folder, "flows.json");
if (!fs.existsSync(flow)) fs.copyFileSync(path.join(__dirname, "flows.json"), flow);
const nodes = path.dirname(require.resolve("node-red-contrib-opcua/package.json"));
process.argv = [process.argv[0], "node-red", "--userDir", folder, "--settings", path.join(__dirname, "settings.js"),
  "--define", `nodesDir=${nodes}`];
require("node-red/red.js");
