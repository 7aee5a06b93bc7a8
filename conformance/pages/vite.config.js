// Builds the one page. `dedupe` keeps it to one copy of what compares by identity: two copies of Yjs do not know each other's types.

import { defineConfig } from 'vite'

export default defineConfig({
  base: './',
  build: { target: 'esnext', minify: false, reportCompressedSize: false, chunkSizeWarningLimit: 4_000 },
  resolve: { dedupe: ['yjs', 'y-protocols', 'lib0', '@codemirror/state', '@codemirror/view', 'prosemirror-model', 'prosemirror-state', 'prosemirror-view'] },
  logLevel: 'warn'
})
