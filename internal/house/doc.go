// Package house holds the project's rules of shape as tests: which way imports go, that packages are documented and named for what is in
// them, that files are short, and that nothing registers itself. docs/architecture.md says why. It has no code of its own.
package house
