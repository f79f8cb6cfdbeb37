package qupath.lib.projects

class ProjectIO {
    static Project loadProject(File file, Class kind) { Project.read(file) }
}
