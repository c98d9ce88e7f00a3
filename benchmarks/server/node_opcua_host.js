// node-opcua's server under the same load as host.py: same nodes, same ticks, same questions on stdin and stdout.
// Usage: node node_opcua_host.js NODES RATE SECONDS IDLE
const { OPCUAServer, Variant, DataType, StatusCodes, DataValue } = require("node-opcua");
const readline = require("readline");
const os = require("os");
const path = require("path");
const net = require("net");
const [nodes, rate, seconds, idleSeconds] = process.argv.slice(2).map(Number);
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const cpu = () => { const u = process.cpuUsage(); return (u.user + u.system) / 1e6; };
const now = () => Number(process.hrtime.bigint()) / 1e9;

function freePort() {
  return new Promise((done) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => { const { port } = probe.address(); probe.close(() => done(port)); });
  });
}

(async () => {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const { OPCUACertificateManager } = require("node-opcua");
  const rootFolder = path.join(os.tmpdir(), `lineside-bench-pki-${process.pid}`);
  const serverCertificateManager = new OPCUACertificateManager({ rootFolder, automaticallyAcceptUnknownCertificate: true });
  const port = await freePort();
  const server = new OPCUAServer({
    port, hostname: "127.0.0.1", resourcePath: "/bench", allowAnonymous: true, serverCertificateManager,
    serverCapabilities: { maxMonitoredItems: 100000, maxMonitoredItemsPerSubscription: 100000, maxSessions: 10 },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const namespace = space.getOwnNamespace();
  const variables = [];
  let folder;
  for (let i = 0; i < nodes; i++) {
    if (i % 100 === 0) folder = namespace.addFolder(space.rootFolder.objects, { browseName: `folder${i / 100}` });
    variables.push(namespace.addVariable({
      componentOf: folder, browseName: `v${i}`, nodeId: `s=v${i}`, dataType: "Double",
      value: { dataType: DataType.Double, value: 0 },
    }));
  }
  await server.start();
  say({ endpoint: `opc.tcp://127.0.0.1:${port}/bench`, namespace: namespace.index });
  await lines.next();
  let cpu0 = cpu();
  await pause(idleSeconds * 1000);
  const idle = (cpu() - cpu0) / idleSeconds;
  cpu0 = cpu();
  const started = now();
  const perTick = Math.max(1, Math.round(rate / 100));
  let done = 0;
  while (now() - started < seconds) {
    const at = new Date();
    for (let k = 0; k < perTick; k++) {
      const variant = new Variant({ dataType: DataType.Double, value: done + k + 1 });
      variables[(done + k) % nodes].setValueFromSource(variant, StatusCodes.Good, at);
    }
    done += perTick;
    await pause(Math.max(0, (started + done / rate - now()) * 1000));
  }
  await pause(500);
  const wall = now() - started;
  say({ written: done, us_per_write: ((cpu() - cpu0 - idle * wall) / done) * 1e6, idle_share: idle });
  await lines.next();
  await server.shutdown(0);
  process.exit(0);
})().catch((e) => { console.error(e); process.exit(1); });
