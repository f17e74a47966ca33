package torlab

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// TestMain runs the tests in a network namespace of their own where it may.
func TestMain(m *testing.M) {
	code, done, err := Isolate(context.Background(), Command{})
	if err != nil {
		fmt.Println("not isolated:", err)
	}
	if !done {
		code = m.Run()
	}
	os.Exit(code)
}
