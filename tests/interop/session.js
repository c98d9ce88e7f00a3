// Opens a session as one comer and closes it again. given: {endpoint, uri, certificate, key, pki}, the last four where
// channels are secured; comer: {policy, mode} of the channel and {name, password} or {certificate, key} of the user.
const fs = require("fs");
const opcua = require("node-opcua-client");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");

function identity(comer) {
  if (comer.certificate) {
    const privateKey = fs.readFileSync(comer.key, "utf-8");
    return { type: opcua.UserTokenType.Certificate, certificateData: fs.readFileSync(comer.certificate), privateKey };
  }
  if (comer.name) return { type: opcua.UserTokenType.UserName, userName: comer.name, password: comer.password };
  return { type: opcua.UserTokenType.Anonymous };
}

async function security(given, comer) {
  if (!comer.policy) return {};
  const manager = new OPCUACertificateManager({ rootFolder: given.pki, automaticallyAcceptUnknownCertificate: true });
  await manager.initialize();
  return {
    applicationUri: given.uri, certificateFile: given.certificate, privateKeyFile: given.key,
    clientCertificateManager: manager,
    securityMode: opcua.MessageSecurityMode[comer.mode], securityPolicy: opcua.SecurityPolicy[comer.policy],
  };
}

// What work(session, index of Lineside's namespace) returns.
exports.visit = async (given, comer, work) => {
  const client = opcua.OPCUAClient.create({
    connectionStrategy: { maxRetry: 0 }, endpointMustExist: false, ...await security(given, comer),
  });
  await client.connect(given.endpoint);
  try {
    const session = await client.createSession(identity(comer));
    const result = await work(session, (await session.readNamespaceArray()).indexOf("urn:lineside:ua"));
    await session.close();
    return result;
  } finally {
    await client.disconnect();
  }
};

exports.firstLine = (e) => String(e.message).split("\n")[0];
