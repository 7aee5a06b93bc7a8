// Statements about drafts: whose they are, who may do what, and what becomes of open sockets when that changes. Run by scenarios/json_yjs.mjs.

import assert from 'node:assert/strict'
import { JsonYjsClient, firmToken } from '../lib/json_yjs.mjs'
import { makeToken } from '../lib/access.mjs'
import { updateOf } from '../wire/vectors.mjs'
import { accessDenied } from './entry.mjs'

const mayNotEdit = 'You do not have permission to edit this draft.'
const notIn = 'Access denied. You do not have permission to access this draft.'

let authors = 100
/** An edit of a new author. */
export const edit = text => updateOf(doc => doc.getText('t').insert(0, text), authors++)

const register = (admin, draft, firmId, ownerId, collaborators) =>
  admin.do('PUT', `/api/admin/drafts/${encodeURIComponent(draft)}`, { firmId, ownerId, ...(collaborators === undefined ? {} : { collaborators }) })
const collaborators = entries => Object.entries(entries).map(([userId, permission]) => ({ userId, permission }))

async function canWrite (client, witness) {
  const from = witness.messages.length
  client.sendUpdate(edit('x'))
  await witness.update({ from })
  await client.barrier()
  assert.deepEqual(client.errors, [])
}

async function canOnlyRead (client, witness) {
  const [from, seen] = [client.messages.length, witness.messages.length]
  client.sendUpdate(edit('y'))
  await client.message('the refusal', message => message.type === 'error' && message.error === mayNotEdit, { from })
  await witness.barrier()
  assert.ok(!witness.messages.slice(seen).some(message => message.type === 'yjs-update'), 'the edit of a reader reached somebody')
  const told = client.messages.length
  witness.sendUpdate(edit('z'))
  await client.update({ from: told })
}

export const statements = {
  async 'registration answers with the same object; collaborators may be there, null, or absent' ({ admin, id }) {
    const full = { firmId: 'f', ownerId: 'u', collaborators: [{ userId: 'u2', permission: 'edit' }] }
    assert.deepEqual(await admin.do('PUT', `/api/admin/drafts/${id}`, full), full)
    for (const collaborators of [null, undefined]) {
      const { firmId, ownerId, collaborators: told } = await register(admin, id, 'f', 'u', collaborators)
      assert.deepEqual([firmId, ownerId, told ?? null], ['f', 'u', null])
    }
  },

  async 'registration needs the admin token' ({ admin, id }) {
    const body = { firmId: 'f', ownerId: 'u' }
    for (const key of [null, 'wrong', firmToken('u', 'f')]) assert.equal((await admin.ask('PUT', `/api/admin/drafts/${id}`, body, { key })).status, 401)
  },

  async 'another firm has no access, with a valid signature, as owner and as collaborator too (3.1, 10.8)' (tools) {
    const { admin, server, id, keep } = tools
    await register(admin, id, 'firm-1', 'ann', collaborators({ eve: 'edit' }))
    await accessDenied(tools, id, firmToken('ann', 'firm-2'))
    await accessDenied(tools, id, firmToken('eve', 'firm-2'))
    await accessDenied(tools, id, firmToken('eve', 'firm-1 '))
    keep(await JsonYjsClient.open(server, id, firmToken('eve', 'firm-1')))
  },

  async 'the owner reads and writes; collaborators read, and write only with edit (3.2, 3.3, 10.9)' (tools) {
    const { admin, server, id, keep } = tools
    await register(admin, id, 'firm-1', 'ann', collaborators({ vic: 'view', cid: 'comment', ben: 'edit' }))
    const open = async user => keep(await JsonYjsClient.open(server, id, firmToken(user)))
    const [ann, ben, vic, cid] = [await open('ann'), await open('ben'), await open('vic'), await open('cid')]
    await canWrite(ann, ben)
    await canWrite(ben, ann)
    await canOnlyRead(vic, ann)
    await canOnlyRead(cid, ann)
    const late = await open('ann')
    assert.ok(!late.text.includes('y'), `a refused edit was stored: "${late.text}"`)
  },

  async 'without a list of collaborators the firm reads and writes, with one only who is on it (3.4)' (tools) {
    const { admin, server, id, keep } = tools
    const open = async user => keep(await JsonYjsClient.open(server, id, firmToken(user)))
    await register(admin, id, 'firm-1', 'ann')
    const [ann, zoe] = [await open('ann'), await open('zoe')]
    await canWrite(zoe, ann)
    await register(admin, `${id}-listed`, 'firm-1', 'ann', [])
    await accessDenied(tools, `${id}-listed`, firmToken('zoe'))
    keep(await JsonYjsClient.open(server, `${id}-listed`, firmToken('ann')))
  },

  async 'who comes first to a draft owns it, for the own firm' (tools) {
    const { server, id, keep } = tools
    const ann = keep(await JsonYjsClient.open(server, id, firmToken('ann', 'firm-1')))
    await accessDenied(tools, id, firmToken('eve', 'firm-2'))
    const zoe = keep(await JsonYjsClient.open(server, id, firmToken('zoe', 'firm-1')))
    await canWrite(zoe, ann)
  },

  async 'a document that another dialect has made stays open to every firm, until it is registered' (tools) {
    const { admin, server, id, open, keep } = tools
    const visitor = await open({ headers: { authorization: `Bearer ${makeToken({ userId: 'visitor' })}` } }, id)
    visitor.sendUpdate(edit('made elsewhere'))
    await visitor.frame('the echo', frame => frame.isUpdate)
    const [a, b] = [
      keep(await JsonYjsClient.open(server, id, firmToken('ann', 'firm-1'))),
      keep(await JsonYjsClient.open(server, id, firmToken('eve', 'firm-2')))
    ]
    assert.equal(b.text, 'made elsewhere')
    await canWrite(b, a)
    await register(admin, id, 'firm-1', 'ann')
    await b.whenClosed()
    await accessDenied(tools, id, firmToken('eve', 'firm-2'))
    await canWriteAlone(a)
  },

  async 'rights that are taken away end open sockets: told, then 1008' (tools) {
    const { admin, server, id, keep } = tools
    await register(admin, id, 'firm-1', 'ann', collaborators({ ben: 'edit' }))
    const [ann, ben] = [keep(await JsonYjsClient.open(server, id, firmToken('ann'))), keep(await JsonYjsClient.open(server, id, firmToken('ben')))]
    const from = ben.messages.length
    await register(admin, id, 'firm-1', 'ann', [])
    assert.deepEqual(await ben.whenClosed(), { code: 1008, reason: 'Insufficient permissions' })
    assert.deepEqual(
      ben.messages.slice(from).map(message => message.raw),
      [JSON.stringify({ type: 'error', error: notIn })]
    )
    await canWriteAlone(ann)
    await accessDenied(tools, id, firmToken('ben'))
  },

  async 'the right to write that is taken away leaves the socket open, and can be given back' ({ admin, server, id, keep }) {
    await register(admin, id, 'firm-1', 'ann', collaborators({ ben: 'edit' }))
    const [ann, ben] = [keep(await JsonYjsClient.open(server, id, firmToken('ann'))), keep(await JsonYjsClient.open(server, id, firmToken('ben')))]
    await canWrite(ben, ann)
    await register(admin, id, 'firm-1', 'ann', collaborators({ ben: 'view' }))
    await canOnlyRead(ben, ann)
    await register(admin, id, 'firm-1', 'ann', collaborators({ ben: 'edit' }))
    const from = ann.messages.length
    ben.sendUpdate(edit('again'))
    await ann.update({ from })
    assert.equal(ben.closed, null)
  }
}

async function canWriteAlone (client) {
  client.sendUpdate(edit('w'))
  await client.barrier()
  assert.deepEqual([client.errors, client.closed], [[], null])
}
