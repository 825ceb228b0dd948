// Unpack the browser and the libraries that come with it, next to the package. Run by make.
import { execFileSync } from "node:child_process";
import { createReadStream, createWriteStream, mkdirSync } from "node:fs";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";

const here = import.meta.dirname;
const packed = `${here}/node_modules/@sparticuz/chromium/bin`;
const unpacked = `${here}/node_modules/.unpacked`;

mkdirSync(unpacked, { recursive: true });
for (const [source, target] of [["chromium.br", "chromium"], ["al2023.tar.br", "libraries.tar"]]) {
  const file = createWriteStream(`${unpacked}/${target}`, { mode: 0o755 });
  await pipeline(createReadStream(`${packed}/${source}`), createBrotliDecompress(), file);
}
execFileSync("tar", ["-xf", `${unpacked}/libraries.tar`, "-C", unpacked]);
