// Package terminal colours text for people.
package terminal

// Style is a code of SGR; the empty one is plain.
type Style string

// The styles that are used.
const (
	Plain  Style = ""
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Cyan   Style = "36"
)

// Painter gives text in a style where there are colours.
type Painter struct{ Color bool }

// Paint gives text as it is where there are no colours.
func (p Painter) Paint(s Style, text string) string {
	if !p.Color || s == Plain {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}
