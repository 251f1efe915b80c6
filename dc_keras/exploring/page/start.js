"use strict";
// The last script of the page: by now the summary has arrived, or it is missing.
Gallery.start();
