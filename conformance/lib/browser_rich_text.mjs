// TipTap with headings, paragraphs and formatting in both windows. Called by the scenario `pages`.

const first = '<h1>TITLE</h1><p>PLAIN <strong>BOLD</strong> PLAIN</p>'
// A caret in an empty paragraph can jump when another paragraph comes (y-tiptap), so each begins theirs before both write.
const begun = '<h1>TITLE</h1><p>IN</p><p>PLAIN <strong>BOLD</strong> PLAIN</p><p>at</p>'
const written = '<h1>TITLE</h1><p>IN BETWEEN THE LINES</p><p>PLAIN <strong>BOLD</strong> PLAIN</p><p>at the very end </p>'
const last = '<h1>TITLE</h1><p>IN BETWEEN THE LINES</p><p>PLAIN <strong>BOLD</strong> PLAIN</p><p>at the very end <em>slanted</em></p>'
const same = ['text', 'html']

/** @param {import('./browser_meeting.mjs').Meeting} meeting */
export async function shareRichText (meeting) {
  const { ann, ben } = meeting
  await meeting.open()
  await meeting.agree('nothing yet', text => text === '')
  await ann.press('Control+Home')
  await ann.type('# TITLE\nPLAIN ')
  await ann.press('Control+b')
  await ann.type('BOLD')
  await ann.press('Control+b')
  await ann.type(' PLAIN')
  await agreeOn(meeting, first)

  await meeting.place(ann, ['Control+Home', 'End'], 'TITLE')
  await ann.type('\nIN')
  await meeting.agree('her paragraph', text => text === 'TITLE\nIN\nPLAIN BOLD PLAIN')
  await meeting.place(ben, ['Control+End'], 'TITLE\nIN\nPLAIN BOLD PLAIN')
  await ben.type('\nat')
  await agreeOn(meeting, begun)
  await meeting.typeAtOnce({ ann: ' BETWEEN THE LINES', ben: ' the very end ' })
  // A change of the other would also take back a mark that was chosen and not yet typed with.
  await agreeOn(meeting, written)
  await ben.press('Control+i')
  await ben.type('slanted')
  await agreeOn(meeting, last)
  await meeting.carets()
  await meeting.screenshot()
  await meeting.reload(same)
  await agreeOn(meeting, last)
  meeting.hadNoProblems()
}

async function agreeOn (meeting, html) {
  const text = html.replaceAll(/<\/(h1|p)>(?!$)/g, '\n').replaceAll(/<[^>]*>/g, '')
  await meeting.agree(html, shown => shown === text, { same })
  await meeting.both(window => window.shows(html, seen => seen.html === html))
}
