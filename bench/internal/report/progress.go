package report

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// plainInterval is how often a line is written where lines cannot be rewritten (a log).
const plainInterval = time.Second

// Progress is a live line. On a terminal it is rewritten in place; elsewhere a plain line appears about once a second.
// One goroutine at a time.
type Progress struct {
	w     io.Writer
	tty   bool
	width int       // runes of the line that stands there now
	last  time.Time // of the last plain line
}

// NewProgress writes to f.
func NewProgress(f *os.File) *Progress {
	return &Progress{w: f, tty: term.IsTerminal(int(f.Fd()))}
}

// Line shows text at the time now.
func (p *Progress) Line(now time.Time, text string) {
	if !p.tty {
		if now.Sub(p.last) < plainInterval {
			return
		}
		p.last = now
		fmt.Fprintln(p.w, text)
		return
	}
	n := utf8.RuneCountInString(text)
	fmt.Fprintf(p.w, "\r%s%s", text, strings.Repeat(" ", max(p.width-n, 0)))
	p.width = n
}

// Done clears the live line, so that what follows starts on a line of its own.
func (p *Progress) Done() {
	if p.tty && p.width > 0 {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.width))
		p.width = 0
	}
}
