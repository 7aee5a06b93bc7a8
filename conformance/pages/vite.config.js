// Builds the pages: each file here that ends in `.html`. `dedupe` keeps them to one copy of what compares by identity: two copies of Yjs do not know each other's types.

import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

const folder = new URL('.', import.meta.url)
const input = readdirSync(folder).filter(file => file.endsWith('.html')).map(file => fileURLToPath(new URL(file, folder)))

export default defineConfig({
  base: './',
  build: { rollupOptions: { input }, target: 'esnext', minify: false, reportCompressedSize: false, chunkSizeWarningLimit: 4_000 },
  resolve: { dedupe: ['yjs', 'y-protocols', 'lib0', '@codemirror/state', '@codemirror/view', 'prosemirror-model', 'prosemirror-state', 'prosemirror-view'] },
  logLevel: 'warn'
})
