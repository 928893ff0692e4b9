// Package control has what operators and relays tell each other in Redis: the pauses, which
// operators write and relays follow, and the reports, which relays write and operators read. Both
// inform; no promise rests on them.
package control
