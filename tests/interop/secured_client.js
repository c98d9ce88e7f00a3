// A client of another make over secured channels: each user comes in, reads, tries to write and to hold the plant at
// advisory. Reads one JSON object from stdin: {endpoint, uri, certificate, key, pki, users: [...]}; prints one.
const fs = require("fs");
const opcua = require("node-opcua-client");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const given = JSON.parse(fs.readFileSync(0, "utf-8"));

function identity(user) {
  if (user.certificate) {
    const privateKey = fs.readFileSync(user.key, "utf-8");
    return { type: opcua.UserTokenType.Certificate, certificateData: fs.readFileSync(user.certificate), privateKey };
  }
  if (user.name) return { type: opcua.UserTokenType.UserName, userName: user.name, password: user.password };
  return { type: opcua.UserTokenType.Anonymous };
}

async function visit(user) {
  const manager = new OPCUACertificateManager({ rootFolder: given.pki, automaticallyAcceptUnknownCertificate: true });
  await manager.initialize();
  const client = opcua.OPCUAClient.create({
    applicationUri: given.uri, certificateFile: given.certificate, privateKeyFile: given.key,
    clientCertificateManager: manager, connectionStrategy: { maxRetry: 0 }, endpointMustExist: false,
    securityMode: opcua.MessageSecurityMode[user.mode], securityPolicy: opcua.SecurityPolicy[user.policy],
  });
  await client.connect(given.endpoint);
  try {
    const session = await client.createSession(identity(user));
    const ns = (await session.readNamespaceArray()).indexOf("urn:lineside:ua");
    const nodeId = `ns=${ns};s=A1.maintenance.flag`;
    const flag = await session.read({ nodeId, attributeId: opcua.AttributeIds.Value });
    const value = { value: { dataType: opcua.DataType.Boolean, value: false } };
    const write = await session.write({ nodeId, attributeId: opcua.AttributeIds.Value, value }).then((s) => s.name, (e) => e.message);
    const inputArguments = [{ dataType: opcua.DataType.LocalizedText, value: { text: "drill" } }];
    const call = await session.call({ objectId: `ns=${ns};s=Gateway`, methodId: `ns=${ns};s=Gateway/HoldAtAdvisory`, inputArguments });
    const few = await session.call({ objectId: `ns=${ns};s=Gateway`, methodId: `ns=${ns};s=Gateway/HoldAtAdvisory`, inputArguments: [] });
    await session.close();
    return { flag: flag.value.value, write, call: call.statusCode.name, few: few.statusCode.name };
  } catch (e) {
    return { refused: String(e.message).split("\n")[0] };
  } finally {
    await client.disconnect();
  }
}

(async () => {
  const seen = [];
  for (const user of given.users) seen.push(await visit(user).catch((e) => ({ refused: String(e.message).split("\n")[0] })));
  console.log(JSON.stringify(seen));
})().then(() => process.exit(0), (e) => { console.error(e); process.exit(1); });
