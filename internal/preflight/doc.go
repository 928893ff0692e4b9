// Package preflight looks for everything that would make a relay fail later: settings, versions,
// permissions, topics. It is what `sluice check` shows.
//
// It changes nothing on either server, and fences nobody: it can be run beside relays. A thing that
// cannot be found out is a warning that says so, never fine. The checks go on after a failure as
// far as they can, so that one run shows all there is to do.
package preflight
