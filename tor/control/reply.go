package control

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strings"
)

// Reply is what tor answers to one command.
type Reply struct {
	Code  int // of the last line
	Lines []Line
}

// Line is one line of a reply or event.
type Line struct {
	Text string // what follows the code and its separator
	Data string // the lines that follow a line marked with '+', dots unstuffed, without the last newline
}

// Text is the last line's text.
func (r Reply) Text() string {
	if len(r.Lines) == 0 {
		return ""
	}
	return r.Lines[len(r.Lines)-1].Text
}

// codeEvent is the class of asynchronous replies (control-spec 4.1).
const codeEvent = 650

// replyReader reads replies, each up to maxReply bytes.
type replyReader struct {
	limit *io.LimitedReader
	text  *textproto.Reader
}

func newReplyReader(r io.Reader) *replyReader {
	l := &io.LimitedReader{R: r}
	return &replyReader{limit: l, text: textproto.NewReader(bufio.NewReader(l))}
}

// next reads one reply. io.EOF: the peer has ended before its first byte.
func (r *replyReader) next() (Reply, error) {
	r.limit.N = maxReply
	var out Reply
	for {
		s, err := r.text.ReadLine()
		if err != nil {
			return out, r.failed(err, len(out.Lines) == 0)
		}
		if r.limit.N <= 0 && r.text.R.Buffered() == 0 { // the line may have been cut at the bound
			return out, ErrReplyTooLarge
		}
		code, sep, text, err := splitLine(s)
		if err != nil {
			return out, err
		}
		if len(out.Lines) > 0 && code/100 != out.Code/100 {
			return Reply{}, fmt.Errorf("%w: codes of two classes in one reply", ErrProtocol)
		}
		out.Code = code
		line := Line{Text: text}
		if sep == '+' {
			b, err := r.text.ReadDotBytes()
			if err != nil {
				return out, r.failed(err, false)
			}
			line.Data = strings.TrimSuffix(string(b), "\n")
		}
		if out.Lines = append(out.Lines, line); sep == ' ' {
			return out, nil
		}
	}
}

// failed says what an error of the reader means.
func (r *replyReader) failed(err error, first bool) error {
	switch eof := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF); {
	case eof && r.limit.N <= 0:
		return ErrReplyTooLarge
	case eof && first:
		return io.EOF
	case eof:
		return io.ErrUnexpectedEOF
	}
	return err
}

// splitLine takes a line apart: three digits, a separator, text.
func splitLine(s string) (code int, sep byte, text string, err error) {
	if len(s) < 4 || s[3] != ' ' && s[3] != '-' && s[3] != '+' {
		return 0, 0, "", fmt.Errorf("%w: %.64q", ErrProtocol, s)
	}
	for _, d := range []byte(s[:3]) {
		if d < '0' || d > '9' {
			return 0, 0, "", fmt.Errorf("%w: %.64q", ErrProtocol, s)
		}
		code = code*10 + int(d-'0')
	}
	if code < 200 || code > 699 {
		return 0, 0, "", fmt.Errorf("%w: code %d", ErrProtocol, code)
	}
	return code, s[3], s[4:], nil
}

// Event is an asynchronous message of tor's.
type Event struct {
	Type  string   // its first word, such as HS_DESC
	Args  []string // the words of the first line after the type; quoted values are unquoted
	Lines []Line   // all lines, the first with its type
}

// newEvent takes an asynchronous reply apart.
func newEvent(r Reply) Event {
	words := Words(r.Lines[0].Text)
	e := Event{Lines: r.Lines}
	if len(words) > 0 {
		e.Type, e.Args = words[0], words[1:]
	}
	return e
}

// Arg is the i-th word after the type; "" if there are fewer.
func (e Event) Arg(i int) string {
	if i < 0 || i >= len(e.Args) {
		return ""
	}
	return e.Args[i]
}

// Field is the value of the first argument KEY=value; "" if there is none. Any goroutine.
func (e Event) Field(key string) string { return Field(e.Args, key) }

// Field is the value of the first word KEY=value; "" if there is none. Any goroutine.
func Field(words []string, key string) string {
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok && k == key {
			return v
		}
	}
	return ""
}
