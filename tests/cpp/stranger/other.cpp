// A library of the program's own, to have something before and after Paco::paco.
int other() { return 0; }
