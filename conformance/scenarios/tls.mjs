// TLS in the server itself: unmodified providers over wss, a certificate that changes while they are connected, and clients that come with plain HTTP.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { get } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import WebSocket from 'ws'
import { prove, each } from '../lib/statements.mjs'
import { until } from '../lib/until.mjs'

export const name = 'tls'
export const seconds = 60
export const needsBinary = true

export async function run ({ server: startServer, log }) {
  if (spawnSync('openssl', ['version']).status !== 0) return 'the command openssl, which makes certificates, is not installed'
  const folder = mkdtempSync(join(tmpdir(), 'concord-tls-'))
  try {
    const [certificate, key] = ['certificate.pem', 'key.pem'].map(file => join(folder, file))
    makeCertificate(certificate, key)
    const server = await startServer({ env: { CONCORD_TLS_CERTIFICATE: certificate, CONCORD_TLS_KEY: key } })
    await prove(statements, { server, log })
    await prove(change, { server, log, certificate, key })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Signed by itself, so it is its own authority. */
function makeCertificate (certificate, key) {
  const made = spawnSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', certificate], { encoding: 'utf8' })
  assert.equal(made.status, 0, made.stderr)
}

/** A socket that trusts this certificate and no other. */
const trusting = certificate => class extends WebSocket {
  constructor (url, protocols) { super(url, protocols, { ca: readFileSync(certificate) }) }
}

const statements = {
  async 'each version meets the others over wss, with documents from bytes to a megabyte' ({ server, edit }) {
    const WebSocketPolyfill = trusting(server.certificate)
    const editors = []
    await each(async version => { editors.push(await edit(version, { WebSocketPolyfill }).synced()) })
    let expected = 0
    for (const [i, text] of ['x', 'y'.repeat(70_000), 'z'.repeat(1_000_000), ''].entries()) {
      if (text !== '') editors[i % editors.length].type(text)
      expected += text.length
      await until('all to have it', () => editors.every(editor => editor.text.length === expected))
    }
  },

  async 'a certificate that is not trusted ends the connection on the client\'s side, and costs others nothing' ({ server, edit }) {
    const stranger = edit('3.1.0', {})
    const friend = await edit('3.1.0', { WebSocketPolyfill: trusting(server.certificate) }).synced()
    await until('a failed attempt', () => stranger.ends.length > 0)
    assert.equal(stranger.provider.synced, false)
    friend.type('undisturbed')
    await until('it to be sent', () => friend.unsent === 0)
  },

  async 'plain HTTP is told to use TLS' ({ server }) {
    const { status, body } = await new Promise((resolve, reject) => {
      get(`http://127.0.0.1:${server.port}/room`, response => {
        let body = ''
        response.on('data', data => { body += data }).on('end', () => resolve({ status: response.statusCode, body }))
      }).once('error', reject)
    })
    assert.equal(status, 400)
    assert.match(body, /wss:\/\//)
  },

  async 'TLS 1.2 and 1.3 are spoken, and nothing older' ({ server }) {
    const version = options => new Promise((resolve, reject) => {
      const socket = connect({ host: 'localhost', port: server.port, ca: readFileSync(server.certificate), ...options }, () => {
        resolve(socket.getProtocol())
        socket.destroy()
      }).once('error', reject)
    })
    assert.equal(await version({}), 'TLSv1.3')
    assert.equal(await version({ maxVersion: 'TLSv1.2' }), 'TLSv1.2')
    await assert.rejects(version({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }))
  }
}

const change = {
  async 'another certificate is shown to newcomers after SIGHUP, and nobody is disconnected' ({ server, edit, certificate, key }) {
    const a = await edit('3.1.0', { WebSocketPolyfill: trusting(certificate) }).synced()
    const before = await shown(server)
    const [nextCertificate, nextKey] = [`${certificate}.next`, `${key}.next`]
    makeCertificate(nextCertificate, nextKey)
    renameSync(nextKey, key)
    renameSync(nextCertificate, certificate)
    process.kill(server.pid, 'SIGHUP')
    await until('the other certificate', async () => await shown(server) !== before)
    const b = await edit('2.1.0', { WebSocketPolyfill: trusting(certificate) }).synced()
    a.type('from before')
    await until('the edit', () => b.text === 'from before')
    assert.deepEqual(a.ends, [])
  }
}

/** The fingerprint of the certificate that a newcomer sees. */
function shown (server) {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: 'localhost', port: server.port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().fingerprint256)
      socket.destroy()
    }).once('error', reject)
  })
}
