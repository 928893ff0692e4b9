// Package report shows the reports of audits to people: in sentences, as a page of HTML with a
// chart of the tiles, and with advice about what to do. It judges nothing; a [consistency.Report]
// has what was found, and is what programs read.
//
// Whatever comes from outside, event ids and topics for instance, goes through [Printable] or is
// escaped, so that nothing in it can steer a terminal or a browser.
package report
