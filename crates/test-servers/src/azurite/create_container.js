// Makes a container: `node -e SCRIPT PORT ACCOUNT KEY CONTAINER`.
const [, port, account, key, container] = process.argv;
const date = new Date().toUTCString();
const path = `/${account}/${container}`;
const text = `PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:${date}\nx-ms-version:2021-12-02\n/${account}${path}\nrestype:container`;
const signature = require("crypto")
  .createHmac("sha256", Buffer.from(key, "base64"))
  .update(text, "utf8")
  .digest("base64");
const headers = {
  "x-ms-date": date,
  "x-ms-version": "2021-12-02",
  "content-length": 0,
  authorization: `SharedKey ${account}:${signature}`,
};
require("http")
  .request({ host: "127.0.0.1", port, path: `${path}?restype=container`, method: "PUT", headers }, (answer) => {
    answer.pipe(process.stderr);
    process.exitCode = answer.statusCode === 201 ? 0 : 1;
  })
  .end();
