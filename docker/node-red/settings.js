// Node-RED with the Lineside flow: the editor and the pages on one address, nothing sent anywhere.
module.exports = {
  flowFile: "flows.json",
  uiHost: process.env.NODE_RED_HOST || "127.0.0.1",
  uiPort: Number(process.env.NODE_RED_PORT || 1880),
  credentialSecret: false, // the flow holds none; set your own secret before you put a password into the endpoint
  telemetry: { enabled: false, updateNotification: false },
  editorTheme: { tours: false },
};
