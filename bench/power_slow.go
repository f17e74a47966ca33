package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"time"
)

// The slower build of a power study: a copy of the echo server's source with a loop in it that every frame runs through. The copy
// stands in for the source in that build only (go build -overlay); no program that is shipped has the loop.

// hotFile has the method that is called for every frame, below the tree's root.
const hotFile = "bench/ours.go"

// slowLoop is what is added to the file. The compiler cannot know that the state is never 0, so it must do the work.
const slowLoop = `
//go:noinline
func powerSpin() {
	x := uint64(1)
	for range %d {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	if x == 0 {
		panic("xorshift has reached 0")
	}
}
`

// spin is the same loop, to know what a round of it costs here.
//
//go:noinline
func spin(rounds int) {
	x := uint64(1)
	for range rounds {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	if x == 0 {
		panic("xorshift has reached 0")
	}
}

// spinCost is the cost of a round in nanoseconds: the least of several tries, for in the others somebody else had the core.
func spinCost() float64 {
	const rounds, tries = 1_000_000, 10
	least := time.Duration(1<<63 - 1)
	for range tries {
		began := time.Now()
		spin(rounds)
		least = min(least, time.Since(began))
	}
	return max(float64(least)/rounds, 0.01)
}

// slower is the source of hotFile with a loop of so many rounds at the start of OnFrame.
func slower(src []byte, rounds int) ([]byte, error) {
	file, err := parser.ParseFile(token.NewFileSet(), hotFile, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv == nil || f.Name.Name != "OnFrame" || f.Body == nil {
			continue
		}
		at := int(f.Body.Lbrace) // positions count from 1: this is behind the brace
		out := append([]byte(nil), src[:at]...)
		out = append(out, "\n\tpowerSpin()"...)
		out = append(out, src[at:]...)
		return fmt.Appendf(out, slowLoop, rounds), nil
	}
	return nil, errors.New(hotFile + " of this commit has no method OnFrame to make slower")
}

// buildSlow builds the slower side with as many rounds as the study has settled on.
func (s *powerStudy) buildSlow(ctx context.Context) error {
	path := filepath.Join(s.src, hotFile)
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if src, err = slower(src, s.out.Rounds); err != nil {
		return err
	}
	copied := filepath.Join(s.shop.dir, "slower.go")
	if err := os.WriteFile(copied, src, 0o600); err != nil {
		return err
	}
	s.slow, err = s.shop.build(ctx, "slower build", s.src, map[string]string{path: copied})
	return err
}
