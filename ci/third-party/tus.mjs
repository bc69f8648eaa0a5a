// A tus client that others wrote (tus-js-client) against a server: one upload in parts, one that is
// broken off and goes on, one in a single request, one that is given up. Prints what was done.
//
// node tus.mjs PATH-OF-TUS-JS-CLIENT, with ANSER_API_URL and ANSER_SERVER_KEY.
import { createRequire } from "node:module";
import { randomBytes } from "node:crypto";

const tus = createRequire(import.meta.url)(process.argv[2]);
const api = process.env.ANSER_API_URL;

async function ask(method, path, token, body) {
  const answer = await fetch(api + path, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

const key = process.env.ANSER_SERVER_KEY;
const users = [];
for (const name of ["tus-alice", "tus-bob"]) users.push(await ask("POST", "/v1/server/users", key, { name }));
const { token } = await ask("POST", `/v1/server/users/${users[0].id}/sessions`, key, { device_name: "tus" });
const ids = users.map((user) => user.id);
const { conversation } = await ask("PUT", "/v1/server/relations", key, { users: ids });

function start(bytes, options, begun) {
  return new Promise((done, failed) => {
    const upload = new tus.Upload(bytes, {
      endpoint: `${api}/v1/files?conversation=${conversation}`,
      headers: { authorization: `Bearer ${token}` },
      metadata: { filename: "secret.png", filetype: "image/png" },
      retryDelays: [0, 100, 1000],
      onError: failed,
      onSuccess: () => done(upload.url),
      ...options,
    });
    if (begun) begun(upload, done);
    upload.start();
  });
}

async function check(url, bytes) {
  const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
  const got = Buffer.from(await answer.arrayBuffer());
  if (!answer.ok || !got.equals(bytes)) throw new Error(`${url}: other bytes than were sent`);
}

const bytes = randomBytes(3_000_001);
await check(await start(bytes, { chunkSize: 500_000 }), bytes);
await check(await start(bytes, {}), bytes);
await check(await start(bytes, { uploadDataDuringCreation: true, chunkSize: 1_000_000 }), bytes);

// Broken off after a part; another upload with its address goes on.
const broken = await start(bytes, { chunkSize: 500_000 }, (upload, done) => {
  upload.options.onChunkComplete = () => upload.abort().then(() => done(upload.url));
});
const offset = async (url) => {
  const headers = { authorization: `Bearer ${token}`, "tus-resumable": "1.0.0" };
  return Number((await fetch(url, { method: "HEAD", headers })).headers.get("upload-offset"));
};
const before = await offset(broken);
if (before <= 0 || before >= bytes.length) throw new Error(`broken off at ${before}`);
await check(await start(bytes, { uploadUrl: broken, chunkSize: 500_000 }), bytes);

const gone = await start(randomBytes(1000), {});
await tus.Upload.terminate(gone, { headers: { authorization: `Bearer ${token}` } });
const left = await fetch(gone, { headers: { authorization: `Bearer ${token}` } });
if (left.status !== 404) throw new Error(`given up, yet ${left.status}`);

console.log("in parts, in one request, with creation, broken off and resumed, terminated");
