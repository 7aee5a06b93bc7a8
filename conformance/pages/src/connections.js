// The unmodified providers, in the one shape that the page needs: {provider, awareness}. `onState` hears "connecting", "connected" or "synced".

import { HocuspocusProvider } from '@hocuspocus/provider'
import { WebsocketProvider } from 'y-websocket'

export const connections = {
  hocuspocus ({ server, room, doc, onState }) {
    const provider = new HocuspocusProvider({ url: server, name: room, document: doc })
    const tell = () => onState(provider.configuration.websocketProvider.status !== 'connected' ? 'connecting' : !provider.synced ? 'connected' : 'synced', saved())
    const saved = () => provider.hasUnsyncedChanges ? 'saving' : 'saved'
    for (const event of ['status', 'synced', 'unsyncedChanges']) provider.on(event, tell)
    tell()
    return { provider, awareness: provider.awareness }
  },

  'y-websocket' ({ server, room, doc, onState }) {
    // Windows of one browser would otherwise meet through a BroadcastChannel, past the server.
    const provider = new WebsocketProvider(server, room, doc, { disableBc: true })
    const tell = () => onState(!provider.wsconnected ? 'connecting' : !provider.synced ? 'connected' : 'synced')
    for (const event of ['status', 'sync']) provider.on(event, tell)
    tell()
    return { provider, awareness: provider.awareness }
  }
}
