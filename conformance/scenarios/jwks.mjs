// Tokens of an identity provider that publishes its keys: it is down when the server starts, brings in another key, and goes down again.

import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { Application, makeToken, now } from '../lib/access.mjs'
import { RawClient } from '../lib/raw_client.mjs'
import { each, prove, refused } from '../lib/statements.mjs'
import { until } from '../lib/until.mjs'

export const name = 'jwks'
export const seconds = 60
export const needsBinary = true

const issuer = 'https://id.example'
const audience = 'concord'

/** A key pair, and what is published of it. */
function makePair (algorithm, kid) {
  const { publicKey, privateKey } = algorithm === 'RS256' ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { algorithm, kid, publicKey, privateKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg: algorithm, use: 'sig' } }
}

const token = ({ algorithm, kid, privateKey }, claims = {}) =>
  makeToken({ sub: 'ann', iss: issuer, aud: audience, ...claims }, { algorithm, kid, key: privateKey })

const [rsa, ec, next] = [makePair('RS256', 'rsa-1'), makePair('ES256', 'ec-1'), makePair('ES256', 'ec-2')]
const forged = makePair('RS256', 'rsa-1')

export async function run ({ server: startServer, log }) {
  const [slow, quick] = await Promise.all([provider(), provider()])
  try {
    await Promise.all([
      (async () => {
        await slow.down()
        const server = await startServer({ env: environment(slow) })
        await prove(atFirst, { server, log, provider: slow })
        await prove(rotation, { server, log, provider: slow })
      })(),
      (async () => {
        const server = await startServer({ env: { ...environment(quick), CONCORD_AUTH_JWKS_REFRESH_MS: '1000' } })
        await until('the first keys', () => quick.asked > 0)
        await prove(refresh, { server, log, provider: quick })
      })()
    ])
  } finally {
    await Promise.all([slow.down(), quick.down()])
  }
}

const provider = () => {
  const application = new Application(() => ({ body: { keys: application.keys.map(({ jwk }) => jwk) } }))
  application.keys = [rsa, ec]
  return application.up()
}

const environment = ({ url }) => ({ CONCORD_AUTH_JWKS_URL: `${url}/jwks`, CONCORD_AUTH_ISSUER: issuer, CONCORD_AUTH_AUDIENCE: audience })

const atFirst = {
  async 'without any keys newcomers get 503; when the keys are there, each version comes in with RS256 and ES256' ({ server, room, edit, provider }) {
    const newcomer = new RawClient(`${server.url}/${room}?token=${token(rsa)}`)
    await until('an answer', () => newcomer.refused || newcomer.frames.length > 0)
    newcomer.terminate()
    assert.equal(newcomer.refused, 503)
    assert.match(newcomer.refusal['retry-after'], /^\d+$/)
    const waiting = edit('2.1.0', { token: token(ec) })
    await until('a failed attempt', () => waiting.ends.length > 0)
    await provider.up()
    await waiting.synced()
    await each(async version => {
      const name = `${room}/${version}`
      const a = await edit(version, { room: name, token: token(rsa) }).synced()
      const b = await edit(version, { room: name, token: token(ec) }).synced()
      a.type('RS256 meets ES256')
      await until('the edit', () => b.text === 'RS256 meets ES256')
    })
  }
}

const rotation = {
  async 'what is not signed with a published key in its own way, for this audience by this issuer, is refused: 4401' ({ edit }) {
    const publicPem = rsa.publicKey.export({ type: 'spki', format: 'pem' })
    const wrong = [
      [token(forged), 'unauthorized'],
      [token({ ...ec, kid: 'rsa-1' }), 'unauthorized'],
      [makeToken({ sub: 'eve', iss: issuer, aud: audience }, { key: publicPem, kid: 'rsa-1' }), 'unauthorized'],
      [token(rsa, { iss: 'https://evil.example' }), 'unauthorized'],
      [token(rsa, { aud: 'another service' }), 'unauthorized'],
      [token(rsa, { exp: now() - 60 }), 'token-expired']
    ]
    await Promise.all(wrong.map(([text, reason]) => refused(edit('3.1.0', { token: text }), 4401, reason)))
  },

  async 'a key that the provider brings in is looked for at once, but only once a minute; who is in with the old one stays' ({ server, room, edit, provider }) {
    const old = await edit('3.0.0', { token: token(rsa) }).synced()
    provider.keys = [ec, next]
    const asked = provider.asked
    const comer = await edit('2.1.0', { token: token(next) }).synced()
    comer.type('with the other key')
    await until('the edit', () => old.text === 'with the other key')
    await Promise.all(Array.from({ length: 20 }, async (_, i) => {
      const client = await RawClient.open(`${server.url}/${room}?token=${token({ ...next, kid: `invented-${i}` })}`)
      await client.frame('the denial', frame => frame.isDenied)
      client.terminate()
    }))
    assert.equal(provider.asked, asked + 1, 'invented keys do not make the server ask again')
    assert.equal(old.connects, 1)
    await refused(edit('3.1.0', { room: `${room}/gone`, token: token(rsa) }), 4401, 'unauthorized')
  }
}

const refresh = {
  async 'keys are renewed in time, and while the provider is down the last good ones stay' ({ server, room, edit, provider }) {
    await edit('3.1.0', { token: token(rsa) }).synced()
    provider.keys = [next]
    await edit('2.1.0', { token: token(next) }).synced()
    await refused(edit('3.1.0', { room: `${room}/gone`, token: token(ec) }), 4401, 'unauthorized')
    await provider.down()
    await until('a failed renewal in the log', () => server.log.some(line => line.includes('"auth.keys"') && line.includes('"kept":true')))
    await edit('4.0.0-3', { token: token(next) }).synced()
    await provider.up()
    provider.keys = [ec]
    await until('a renewal', async () => {
      const client = await RawClient.open(`${server.url}/${room}?token=${token(ec)}`)
      await until('an answer', () => client.frames.length > 0)
      client.terminate()
      return !client.frames[0].isDenied
    }, { everyMs: 200 })
  }
}
