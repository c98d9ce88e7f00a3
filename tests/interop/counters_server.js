// A server of another make: machine M1 under Objects with tags of several types that count on together, one with
// history. Reads one JSON object from the first argument: {port, pki, certificate, key, users, period_ms, start,
// more_namespaces, tags}; prints "ready"; on each line of stdin it prints what it holds, and ends with stdin.
const opcua = require("node-opcua");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const given = JSON.parse(process.argv[2]);
const { DataType, VariantArrayType } = opcua;

async function main() {
  const manager = new OPCUACertificateManager({ rootFolder: given.pki, automaticallyAcceptUnknownCertificate: true });
  await manager.initialize();
  const server = new opcua.OPCUAServer({
    port: given.port, hostname: "127.0.0.1", serverCertificateManager: manager, userCertificateManager: manager,
    certificateFile: given.certificate, privateKeyFile: given.key, serverInfo: { applicationUri: given.uri },
    allowAnonymous: !given.users, userManager: { isValidUser: (name, word) => !!given.users && given.users[name] === word },
    securityPolicies: given.policies.map((p) => opcua.SecurityPolicy[p]),
    securityModes: given.policies.includes("None") ? [opcua.MessageSecurityMode.None, opcua.MessageSecurityMode.SignAndEncrypt]
      : [opcua.MessageSecurityMode.SignAndEncrypt],
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  for (const uri of given.more_namespaces || []) space.registerNamespace(uri);
  const own = space.registerNamespace("urn:lineside:test:counters");
  const machine = own.addObject({ browseName: "M1", organizedBy: space.rootFolder.objects, nodeId: "s=M1" });
  const kinds = { Double: Number, Float: Number, Int32: Number, Int64: opcua.coerceInt64, Boolean: (k) => k % 2 === 1, String: (k) => `part ${k}` };
  const variables = [];
  const add = (name, dataType, arrayType, of) => {
    const variable = own.addVariable({
      componentOf: machine, browseName: name, nodeId: `s=M1.${name}`, dataType,
      valueRank: arrayType ? 1 : -1, arrayDimensions: arrayType ? [0] : null, minimumSamplingInterval: 10,
    });
    variables.push((k, now) => variable.setValueFromSource({ dataType, arrayType: arrayType || VariantArrayType.Scalar, value: of(k) }, opcua.StatusCodes.Good, now));
    return variable;
  };
  for (const [name, of] of Object.entries(kinds)) add(name, DataType[name], 0, of);
  add("Curve", DataType.Float, VariantArrayType.Array, (k) => new Float32Array([k, k + 1, k + 2]));
  for (let i = 0; i < given.tags; i++) add(`T${i}`, DataType.Double, 0, Number);
  space.installHistoricalDataNode(space.findNode(`ns=${own.index};s=M1.Double`), { maxOnlineValues: 5000 });
  let count = given.start;
  const step = () => {
    count += 1;
    const now = new Date();
    for (const set of variables) set(count, now);
  };
  step();
  setInterval(step, given.period_ms);
  await server.start();
  console.log("ready");
  process.stdin.on("data", () => console.log(JSON.stringify({ count, sessions: server.engine.currentSessionCount, subscriptions: server.engine.currentSubscriptionCount })));
  process.stdin.on("end", () => server.shutdown(100).then(() => process.exit(0)));
}

main().catch((e) => { console.error(e); process.exit(1); });
