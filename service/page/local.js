// Reads fingerprints on the user's machine: pixels as the service would see them, then the decoder.
import * as ort from "./vendor/ort.wasm.min.mjs";

const here = (name) => new URL(name, import.meta.url).href;

// A function: file of a picture -> { logits, width, height }; it throws where there is no picture.
export async function makeReader(resolution, channels) {
  ort.env.wasm.numThreads = 1; // more would take headers that not every proxy passes on
  ort.env.wasm.wasmPaths = here("./vendor/");
  const session = await ort.InferenceSession.create(here("./decoder.onnx"), {
    executionProviders: ["wasm"],
  });
  return async (file) => {
    const { width, height, planes } = await readPlanes(file, channels);
    const pixels = new Uint8Array(resolution * resolution * channels);
    planes.forEach((plane, channel) => {
      resize(plane, width, height, resolution).forEach((value, i) => {
        pixels[i * channels + channel] = value;
      });
    });
    const shape = [1, resolution, resolution, channels];
    const { logits } = await session.run({ pixels: new ort.Tensor("uint8", pixels, shape) });
    return { logits: Array.from(logits.data), width, height };
  };
}

// Upright, on white, without regard to colour profiles: as dnnlib/images.py does it.
async function readPlanes(file, channels) {
  const picture = await createImageBitmap(file, {
    colorSpaceConversion: "none",
    imageOrientation: "from-image",
  });
  const { width, height } = picture;
  if (Math.max(width, height) > 100 * Math.min(width, height)) throw new Error("a strip");
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(picture, 0, 0);
  picture.close();
  const { data } = context.getImageData(0, 0, width, height);
  const planes = Array.from({ length: channels }, () => new Uint8Array(width * height));
  for (let i = 0; i < width * height; i += 1) {
    const [r, g, b] = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
    if (channels === 1) {
      planes[0][i] = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16; // ITU-R 601-2
    } else {
      planes[0][i] = r;
      planes[1][i] = g;
      planes[2][i] = b;
    }
  }
  return { width, height, planes };
}

// Lanczos with three lobes, in the steps and the fixed point of Pillow, so that bits are the same.
function resize(plane, width, height, resolution) {
  let found = plane;
  if (width !== resolution) found = resizeRows(found, width, height, resolution);
  if (height !== resolution) {
    found = transpose(found, resolution, height);
    found = resizeRows(found, height, resolution, resolution);
    found = transpose(found, resolution, resolution);
  }
  return found;
}

function transpose(plane, width, height) {
  const found = new Uint8Array(width * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) found[x * height + y] = plane[y * width + x];
  }
  return found;
}

const ONE = 2 ** 22; // a weight of 1

function resizeRows(plane, width, height, size) {
  const found = new Uint8Array(size * height);
  for (let x = 0; x < size; x += 1) {
    const { first, weights } = weightsOf(x, width / size, width);
    for (let y = 0; y < height; y += 1) {
      let sum = ONE / 2;
      for (let i = 0; i < weights.length; i += 1) sum += weights[i] * plane[y * width + first + i];
      found[y * size + x] = Math.min(255, Math.max(0, Math.floor(sum / ONE)));
    }
  }
  return found;
}

function weightsOf(x, scale, width) {
  const stretch = Math.max(scale, 1);
  const centre = (x + 0.5) * scale;
  const first = Math.max(0, Math.trunc(centre - 3 * stretch + 0.5));
  const behind = Math.min(width, Math.trunc(centre + 3 * stretch + 0.5));
  const raw = [];
  for (let i = first; i < behind; i += 1) raw.push(lanczos((i - centre + 0.5) / stretch));
  const sum = raw.reduce((a, b) => a + b, 0);
  const weights = raw.map((w) => {
    const weight = (w / sum) * ONE;
    return Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
  });
  return { first, weights };
}

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const lanczos = (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0);
