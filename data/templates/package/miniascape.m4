# MINIASCAPE_TOOLS
# What makes packages of the tree. Each is only needed by the target of `make` that uses it.
AC_DEFUN([MINIASCAPE_TOOLS],
[AC_PATH_PROG([RPMBUILD], [rpmbuild], [rpmbuild])
AC_PATH_PROG([DPKG_DEB], [dpkg-deb], [dpkg-deb])
AC_PATH_PROG([SHA256SUM], [sha256sum], [sha256sum])
])
