// Drives Chromium for a test. Standard input is a socket: a JSON object a line comes in, one a line goes
// out, {"value": …} or {"error": "…"}, in order. It reads SETTINGS, a JSON object:
//   chromium      the program
//   timeout       milliseconds until a wait is a hang
// Certificates are judged as Chromium does by itself, with $HOME/.pki/nssdb.
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';

import { chromium } from 'playwright-core';

const settings = JSON.parse(process.env.SETTINGS);
const browser = await chromium.launch({
  executablePath: settings.chromium,
  chromiumSandbox: true,
  args: [
    '--disable-background-networking', '--disable-component-update', '--disable-gpu', '--disable-quic',
    '--disable-sync', '--no-first-run',
  ],
});
const tabs = [];

function open(context, page) {
  const tab = { context, page, status: null, console: [] };
  page.setDefaultTimeout(settings.timeout);
  page.on('response', (response) => {
    const ours = response.frame() === page.mainFrame() && response.request().isNavigationRequest();
    if (ours) tab.status = response.status();
  });
  page.on('console', (message) => tab.console.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => tab.console.push(`uncaught: ${error.message}`));
  return tabs.push(tab) - 1;
}

/// How many colours a picture has; one is a blank page.
async function colours(png) {
  const page = await browser.newPage();
  try {
    return await page.evaluate(async (source) => {
      const image = Object.assign(new Image(), { src: source });
      await image.decode();
      const canvas = new OffscreenCanvas(image.width, image.height).getContext('2d');
      canvas.drawImage(image, 0, 0);
      return new Set(new Uint32Array(canvas.getImageData(0, 0, image.width, image.height).data.buffer)).size;
    }, `data:image/png;base64,${png.toString('base64')}`);
  } finally {
    await page.close();
  }
}

const actions = {
  async new_context() {
    const context = await browser.newContext();
    return open(context, await context.newPage());
  },
  async new_page({ context }) {
    return open(context, await context.newPage());
  },
  async goto({ page }, { url }) {
    await page.goto(url);
  },
  async reload({ page }) {
    await page.reload();
  },
  async click({ page }, { selector }) {
    await page.click(selector);
  },
  async fill({ page }, { selector, text }) {
    await page.fill(selector, text);
  },
  text: ({ page }, { selector }) => page.innerText(selector),
  url: ({ page }) => page.url(),
  title: ({ page }) => page.title(),
  async wait_for_url({ page }, { prefix }) {
    await page.waitForURL((url) => url.href.startsWith(prefix)).catch((error) => {
      throw new Error(`${error.message}\nthe page is ${page.url()}`);
    });
  },
  async wait_for({ page }, { selector }) {
    await page.waitForSelector(selector);
  },
  async screenshot({ page }, { path, width, height, dark, full }) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' });
    return colours(await page.screenshot({ path, fullPage: full }));
  },
  evaluate: ({ page }, { js }) => page.evaluate(js),
  cookies: ({ context }) => context.cookies(),
  status: (tab) => tab.status,
  console: (tab) => tab.console,
};

const wire = new Socket({ fd: 0 });
for await (const line of createInterface({ input: wire })) {
  const { action, tab, ...rest } = JSON.parse(line);
  const answer = await Promise.resolve()
    .then(() => actions[action](tabs[tab], rest))
    .then((value) => ({ value: value ?? null }), (error) => ({ error: error.message }));
  wire.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
