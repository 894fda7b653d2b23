// Package cli is how the programs behave on a command line, beyond what cobra does: help that fits the screen and is made of the same text as
// the reference page, mistakes that are answered with what was expected, and flags in sections.
//
// # Text
//
// A command's Long text is paragraphs, wrapped where it is shown; lines that begin with white space are shown as they are.
//
// # Mistakes
//
// An unknown command names the nearest one; a wrong number of arguments and a required flag that is not there are answered with the usage line. All
// of them are errors that the program prints and turns into its exit code for mistakes; nothing here prints an error or ends a process.
package cli
